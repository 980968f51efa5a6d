# Constrained election: the only replica that sees a quorum has an old log. It takes the log from the
# offers, so that nothing committed is lost and nobody waits. (protocol.md section 4, "Constrained
# election".)

cluster 5
cut r2 | r0 r1 r3 r4
given load c1 4 k
expect r2 commit 0
heal
cut r0 | r1 | r3 | r4
given run 30s
show
expect one view
expect r2 primary
expect r2 commit 4
given run 2s
expect same-state *
