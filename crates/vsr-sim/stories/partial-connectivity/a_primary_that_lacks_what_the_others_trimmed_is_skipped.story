# r1 was away while the others trimmed their logs. It is back and fetches a checkpoint when r0 dies: to lead it
# would have to fetch it first.
cluster 3 pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given crash r1
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
block r0->r1 checkpoint
block r2->r1 checkpoint
restart r1
given run 500ms
crash r0
given run 300ms
expect r2 view 2
unblock r2->r1
given run 2s
expect r2 primary
expect same-state *
