# r2 is away for longer than the others' logs reach: nobody has the entries that it lacks, so it takes a
# checkpoint, chunk by chunk, and the entries behind it from the log.
cluster 3 pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given crash r2
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
show
given restart r2
given settle
timeout r1 ping
settle
expect r2 op 20
given timeout r0 ping
given settle
expect r2 commit 24
expect same-state *
