# r2 was away and becomes the primary of view 2. What it lacks is in nobody's log any more: rather than hold
# up the others until it has a checkpoint, it gives way.
cluster 3 pipeline 1 batch 1 log-slots 31 checkpoint-every 5
given crash r2
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given restart r2
given block r0->r2 ping
given block r1->r2 ping
given settle
given block r0->r1 do-view-change
given block r2->r1 do-view-change
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
given timeout r0 view-change-stuck
given timeout r1 view-change-stuck
given timeout r2 view-change-stuck
given settle
expect r2 view 2
given unblock r0->r2 ping
given unblock r1->r2 ping
timeout r0 ping
deliver r0->r2 ping
expect r2 primary
given settle
given run 3s
expect not r2 primary
expect r2 commit 24
expect same-state *
