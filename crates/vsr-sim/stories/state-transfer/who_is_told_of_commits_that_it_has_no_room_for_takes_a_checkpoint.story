# r1 lacks op 9, which r2 has; all else that it hears of lies beyond the room of its log, so that it cannot ask
# for what comes after. It does not wait for r2, but takes a checkpoint from the primary.
cluster 5 pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given load c1 8 k
given timeout r0 heartbeat
given settle
cut r1 | r0 r2 r3 r4
given load c1 1 k
given settle
expect r2 op 9
cut r0 r3 r4 | r2 | r1
given load c1 5 k
given run 500ms
given load c1 5 k
given run 500ms
given load c1 5 k
given run 500ms
given load c1 5 k
given run 500ms
expect r1 op 8
heal
cut r2 | r0 r3 r4
cut r1 | r3 r4
given run 2s
show
expect r1 commit 29
expect same-state r0 r1
