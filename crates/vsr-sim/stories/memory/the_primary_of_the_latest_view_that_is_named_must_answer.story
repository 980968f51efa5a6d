# D14: the answer of an earlier view's primary is not enough where another names a later view: that one's
# log is the group's.
cluster 5 durability memory
given request c1 put x 1
given settle
crash r4
cut r0 | r1 r2 r3 r4
given timeout r1 primary-silence
given timeout r2 primary-silence
given timeout r3 primary-silence
given settle
expect r1 primary
heal
given block r1->r4 recovery-response
given block r3->r4 recovery-response
restart r4
deliver r4->r0
deliver r0->r4 recovery-response
deliver r4->r2
deliver r2->r4 recovery-response
forge r3->r4 recovery-response view=1 nonce=2.1
expect r4 status recovering
expect r4 op 0
given unblock r1->r4
given unblock r3->r4
timeout r4 recovery
settle
expect r4 status backup
expect r4 view 1
