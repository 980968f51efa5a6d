# A linearizable read at a backup: it asks the primary for a read index, which brings it with a round of
# its own, and answers when it has executed up to there.
cluster 3
block r0->r2 prepare
block r0->r2 commit
given request c1 put x 1
given settle
expect r2 commit 0
read c2 r2 linearizable get x
deliver r2->r0 read-probe
deliver r0->r1 read-probe
deliver r1->r0 read-ok
deliver r0->r2 read-ok
expect no reply c2
unblock r0->r2
timeout r0 heartbeat
settle
expect reply c2 "1"
