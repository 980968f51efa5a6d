# Receive-deaf: r2 hears nothing and all that it sends arrives. Its vote is one, and the primary is heard
# by the rest. (protocol.md section 3.2; D7.)

cluster 3
given load c1 2 k
cut r0->r2
cut r1->r2
count view-changes
given run 10s
given load c1 2 j
given run 1s
show
expect r0 primary
expect r1 commit 4
expect view-changes at-most 0
heal
given run 3s
expect same-state *
expect view-changes at-most 0
