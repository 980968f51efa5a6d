# The chained shape: r0 and r2 do not see each other, r1 sees both. r2 votes and moves nobody, since
# r1 hears the primary; what is committed comes to it by r1's PING, and the entries from r1.
# (protocol.md section 4, "Chained"; ADR 0022.)

cluster 3
cut r0 | r2
count view-changes
given load c1 5 k
given run 3s
show
expect r2 commit 5
expect same-state *
expect r0 primary
expect view-changes at-most 0
