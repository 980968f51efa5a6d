# D13: positions of peers from an earlier view do not commit anything in the new one, and one
# acknowledgement covers all entries up to it.
cluster 3
given block r1->r0 prepare-ok
given block r2->r0 prepare-ok
batch c1 c2 put x 1
settle
given request c3 put y 2
given settle
expect r1 op 2
crash r0
given block r2->r1 prepare-ok
timeout r1 primary-silence
timeout r2 primary-silence
settle
expect r1 primary
expect r1 commit 0
unblock r2->r1 prepare-ok
timeout r1 prepare-resend
settle
expect r1 commit 2
