# A second gap does not take the names away that the primary gave to the entries before it: r2 holds ops
# 4 and 5 between two gaps, r1 neither, and the two of them go on without r0.
cluster 3
given load c1 2 k
given batch c1 put a 3
given deliver r0->r1 prepare
given drop r0->r2 prepare
given deliver r1->r0
given block r0->r1 prepare
request c2 put b 4
request c3 put c 5
given block r0->r2 prepare
request c4 put d 6
given unblock r0->r2 prepare
request c5 put e 7
deliver r0->r2 prepare
deliver r0->r2 prepare
deliver r0->r2 prepare
crash r0
drop r0->*
given run 60s
expect some primary
expect one view
