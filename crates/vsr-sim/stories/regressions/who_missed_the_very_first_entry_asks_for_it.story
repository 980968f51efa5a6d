# SEED-L2: a replica that holds nothing at all catches up from the beginning, without a view change.
cluster 3
given block r0->r2 prepare
given block r0->r2 commit
load c1 3 k
expect r2 op 0
unblock r0->r2 prepare
unblock r0->r2 commit
request c1 put x 1
settle
run 1s
expect r2 op 4
expect same-state *
expect r2 view 0
