# The same chunk is damaged on all disks: nobody can give it to anybody. But all have the state in memory, so each takes
# its checkpoint once more, with the bytes of that chunk, and a start from it is like any other. (Found by a trial with real
# processes.)
cluster 3 checkpoint-every 4
given load c1 6 k
given run 500ms
expect r2 checkpoint 4
given corrupt r0 chunk 1
given corrupt r1 chunk 1
given corrupt r2 chunk 1
scrub r0
given scrub r1
given scrub r2
given run 5s
expect r0 checkpoint 6
given crash r0
given crash r1
given crash r2
restart r0
given restart r1
given restart r2
given run 2s
expect same-state *
expect steady
