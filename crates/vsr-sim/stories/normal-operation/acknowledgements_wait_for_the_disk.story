# Protocol.md 5.6: PREPARE-OK leaves when the entry is durable, and the primary's own vote counts then.
cluster 3
disk r0 slow
disk r1 slow
disk r2 slow
request c1 put x 1
deliver r0->r1
expect not r0 commit 1
fsync r1
deliver r1->r0
expect r0 commit 0
fsync r0
expect r0 commit 1
expect reply c1 "ok"
