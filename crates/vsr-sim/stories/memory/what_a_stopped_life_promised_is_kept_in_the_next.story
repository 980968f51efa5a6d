# D20, the run in which recovery without a disk loses X: r0 enters view 2 and offers its empty log, all of
# that delayed, stops, recovers in view 1, acknowledges X there, and then its old offer begins view 2 without
# X. With the fence it does not come back in view 1: what it said of view 2 binds it.
cluster 3 durability memory
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
given timeout r2 primary-silence
given drop r2->r1
deliver r2->r0
timeout r0 primary-silence
expect r0 view 2
drop r0->r1
hold r0->r2 do-view-change as old
drop r0->r2
crash r0
restart r0
hold r0->r1 recovery as late1
hold r0->r2 recovery as late2
given request c1 put x 1
resend c1
drop r1->r2
deliver r1->r0 prepare
expect r0 ignored recovering
expect no reply c1
release old
deliver r0->r2
release late1
release late2
given run 3s
expect reply c1 "ok"
expect key x 1
expect r0 status backup
expect same-state *
