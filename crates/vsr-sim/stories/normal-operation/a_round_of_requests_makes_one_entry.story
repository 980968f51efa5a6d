# Paper, section 6.2: under load one round of the protocol carries many requests.
cluster 3
batch c1 c2 c3 put x 1
expect r0 op 1
deliver r0->r1
deliver r1->r0
expect r0 commit 1
expect reply c1 "ok"
expect reply c3 "ok"
