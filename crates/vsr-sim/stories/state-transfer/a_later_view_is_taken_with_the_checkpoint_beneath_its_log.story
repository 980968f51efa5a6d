# While r2 is away the others change the view. The log that view 1 began with does not fit behind r2's own:
# log, view and checkpoint are installed in one step.
cluster 3 pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given crash r2
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given abdicate r0
given settle
expect r1 primary
given restart r2
given settle
show
given timeout r1 ping
deliver r1->r2 ping
settle
expect r2 commit 24
expect same-state *
