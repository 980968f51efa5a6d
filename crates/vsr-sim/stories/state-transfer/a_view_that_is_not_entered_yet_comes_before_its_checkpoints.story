# r2 is on its way into view 1 and stands still, while the others take many operations in it. What view 1 began
# with comes late: it must not meet a checkpoint that was taken in view 1 since.
cluster 3 pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given request c1 put x 1
given settle
given abdicate r0
given deliver r0->r1 all
given deliver r0->r2 all
given deliver r1->r2 all
given deliver r2->r1 do-view-change
given hold r1->r2 start-view as began
given block r1->r2 start-view
given block r0->r2 start-view
given settle
expect r1 primary
expect r2 status view-change
given block r0->r2 start-view
given pause r2
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given resume r2
given timeout r0 ping
given timeout r1 ping
given settle
release began
settle
given unblock r1->r2 start-view
given run 2s
expect r2 status normal
expect same-state *
