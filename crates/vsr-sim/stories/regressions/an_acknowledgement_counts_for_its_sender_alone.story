# SEED-S12: what counts is who the transport proved the sender to be, once, as a member, of this view. A
# PREPARE-OK that is doubled, of another view or cluster, or of another entry commits nothing.
cluster 5
given block r0->r2 prepare
given block r0->r3 prepare
given block r0->r4 prepare
request c1 put x 1
deliver r0->r1 prepare
double r1->r0
deliver r1->r0 all
expect r0 commit 0
forge r2->r0 prepare-ok view=0 op=1@0!
expect r0 ignored wrong-checksum
forge r2->r0 prepare-ok view=0 op=1@0 cluster=7
expect r0 ignored other-cluster
forge r2->r0 prepare-ok view=0 op=1@0 epoch=3
expect r0 ignored other-epoch
forge r2->r1 prepare-ok view=0 op=1@0
expect r1 ignored not-primary
expect r0 commit 0
expect no reply c1
