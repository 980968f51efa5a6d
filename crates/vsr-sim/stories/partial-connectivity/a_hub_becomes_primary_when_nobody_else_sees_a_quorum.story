# Quorum loss: r2 sees all, the others see r2 alone, and the primary r0 is not among those who see a
# quorum. r0 gives way, and views go on until r2 is primary. In the paper nobody but r2 could ever send
# DO-VIEW-CHANGE. (protocol.md section 4, "Quorum loss".)

cluster 5
given load c1 2 k
cut r0 | r1 | r3 | r4
given run 30s
show
expect one view
expect r2 primary
given load c1 2 j
given run 2s
expect same-state *
count view-changes
given run 10s
expect view-changes at-most 0
