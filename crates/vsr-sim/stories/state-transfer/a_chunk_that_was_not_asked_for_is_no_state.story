# A chunk is what its digest says: bytes that nobody asked for become no part of a checkpoint.
cluster 3 pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given crash r2
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given restart r2
given settle
given timeout r1 ping
given deliver r1->r2 ping
deliver r2->r1 get-checkpoint
deliver r1->r2 checkpoint
forge r1->r2 chunk view=0 bytes=lies
expect r2 ignored not-asked
given settle
expect r2 op 20
given timeout r0 ping
given settle
expect same-state *
