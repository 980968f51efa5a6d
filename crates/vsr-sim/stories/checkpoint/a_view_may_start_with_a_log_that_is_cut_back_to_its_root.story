# Ops 1 and 2 are in checkpoints, and no log has them any more. The PREPARE of op 3 is lost on the way to
# both backups; what they hold of ops 4 and 5 lies behind a gap. When r0 dies nobody has op 3, and the
# log is cut back to the header that it begins after, which has to be offered for that.
cluster 3 checkpoint-every 2 batch 1
given load c1 2 k
given run 1s
expect r1 op 2
given block r0->r1 prepare
given block r0->r2 prepare
given request c2 put b 3
given unblock r0->r1 prepare
given request c3 put c 4
given unblock r0->r2 prepare
given block r0->r1 prepare
given request c4 put d 5
given deliver r0->r1 prepare
given deliver r0->r2 prepare
given crash r0
given drop r0->*
show log r1
show log r2
given run 60s
expect some primary
expect one view
given request c5 put e 6
given run 2s
expect reply c5 "ok"
