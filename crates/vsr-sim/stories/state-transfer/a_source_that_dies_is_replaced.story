# r2 has the manifest of a checkpoint from r1, and asks r1 for the chunks too, which dies: r0 gives them.
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
given timeout r0 ping
given deliver r0->r1 ping
given timeout r1 ping
deliver r1->r2 ping
given deliver r0->r2 ping
deliver r2->r1 get-checkpoint
deliver r1->r2 checkpoint
crash r1
timeout r2 transfer
settle
expect r2 op 20
given run 3s
expect r2 commit 24
expect same-state *
