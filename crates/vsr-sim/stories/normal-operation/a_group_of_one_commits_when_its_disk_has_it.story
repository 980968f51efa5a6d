# Protocol.md 2.7: a group of one must wait for its own disk like any other.
cluster 1
disk r0 slow
request c1 put x 1
request c2 put y 2
expect r0 commit 0
expect no reply c1
fsync r0
expect r0 commit 1
fsync r0
expect r0 commit 2
expect reply c1 "ok"
crash r0
disk r0 ok
restart r0
settle
expect r0 primary
expect r0 view 1
expect key x 1
