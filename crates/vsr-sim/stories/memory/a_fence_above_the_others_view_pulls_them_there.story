# r2 entered view 1, offered its log for it, and stopped: whatever it said is on its way. No answer from view
# 0 may bring it back there, so those who are in view 0 leave it: the fence is proof of the view change.
cluster 3 durability memory
given request c1 put x 1
given settle
given timeout r1 primary-silence
given drop r1->r0
deliver r1->r2
timeout r2 primary-silence
expect r2 view 1
hold r2->r0 do-view-change as m0
hold r2->r1 do-view-change as m1
given drop r2->r0
given drop r2->r1
crash r2
restart r2
expect r2 view 1
deliver r2->r0
expect r0 status view-change
expect r0 view 1
settle
expect r1 primary
timeout r2 recovery
settle
expect r2 status backup
expect r2 view 1
release m1
release m0
settle
expect one view
expect key x 1
