# Protocol.md 2.7: a primary that prepares in a view it led before a crash could fork it.
cluster 3
request c1 put x 1
drop r0->r1
drop r0->r2
crash r0
restart r0
expect r0 status view-change
expect r0 view 1
settle
expect r1 primary
expect r0 status normal
resend c1
settle
expect reply c1 "ok"
