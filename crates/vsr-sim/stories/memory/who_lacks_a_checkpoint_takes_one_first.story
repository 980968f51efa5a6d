# D16: the others' logs begin behind what checkpoints have. A replica that lost everything takes a
# checkpoint, then the entries behind it, and counts again only with both.
cluster 3 durability memory pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
show
crash r2
restart r2
given settle
expect r2 status recovering
timeout r0 ping
timeout r1 ping
given settle
expect r2 status backup
given load c1 1 k
given run 500ms
expect r2 commit 17
expect same-state *
