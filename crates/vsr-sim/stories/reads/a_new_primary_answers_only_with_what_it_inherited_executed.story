# What the view inherited may have been committed, and answered, by the primary before: the read index is
# at least its last op, and nothing is answered before that is executed.
cluster 3
given request c1 put x 1
given settle
block r0->* commit
given request c1 put x 2
deliver r0->r1 prepare
deliver r1->r0 prepare-ok
expect reply c1 "ok"
given crash r0
given block r2->r1 prepare-ok
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
read c2 r1 linearizable get x
settle
expect no reply c2
given unblock r2->r1 prepare-ok
given timeout r1 prepare-resend
settle
expect reply c2 "2"
