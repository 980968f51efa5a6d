# What was answered while a round ran is not below its index. A read that came meanwhile waits for the next round
# and says nothing of how young this one is.
cluster 3
block r0->r2 prepare
block r0->r2 commit
given read c1 r2 linearizable get x
given deliver r2->r0 read-probe
given deliver r0->r1 read-probe
given deliver r1->r0 read-ok
hold r0->r2 read-ok as m1
block r0->r2 read-ok
given request c3 put x 1
given settle
given run 150ms
given read c2 r2 linearizable get x
unblock r0->r2
release m1
deliver r0->r2 read-ok
expect reply c1 "(none)"
read c4 r2 stale=50ms get x
expect no reply c4
given timeout r0 heartbeat
given settle
expect reply c2 "1"
expect reply c4 "1"
