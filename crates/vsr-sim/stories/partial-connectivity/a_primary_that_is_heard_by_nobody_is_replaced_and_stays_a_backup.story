# One-way: nothing that r0 sends arrives, all that is sent to it does. The others replace it, once.
# (protocol.md section 4, the switch fault of November 2020 among them.)

cluster 3
given load c1 2 k
cut r0->r1
cut r0->r2
count view-changes
given run 5s
show
expect r1 primary
expect one view
expect view-changes at-most 1
given load c1 2 j
given run 10s
expect same-state *
expect view-changes at-most 1
