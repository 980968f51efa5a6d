# r1 becomes primary and r2 cannot hear it: r2 joins the view by r0's offer, and learns from r0, a backup
# of that view, what it began with. Else it would stay between views for ever.
# (protocol.md section 4, "Chained"; ADR 0022.)

cluster 3
given load c1 2 k
cut r1 | r2
given abdicate r0
given run 5s
show
expect one view
expect r1 primary
given load c1 3 j
given run 2s
expect same-state *
expect r2 commit 5
count view-changes
given run 10s
expect view-changes at-most 0
