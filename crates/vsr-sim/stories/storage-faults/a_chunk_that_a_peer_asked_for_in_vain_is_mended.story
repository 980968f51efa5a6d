# r1 notices that a chunk of its checkpoint is damaged when r2, which was away for too long, asks for it. r2 has it from r0
# instead, and so has r1, which goes on meanwhile: what it has in memory is right.
cluster 3 checkpoint-every 2 log-slots 16 pipeline 2
given crash r2
given load c1 12 k
given run 500ms
given corrupt r1 chunk 1
restart r2
given run 2s
expect r1 repaired 1
expect same-state *
given crash r1
restart r1
given run 1s
expect same-state *
