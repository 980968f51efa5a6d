# Protocol.md 5.4, restart (1): a replica that promised a view goes on with it.
cluster 3
given request c1 put x 1
given settle
given crash r0
given timeout r1 primary-silence
given timeout r2 primary-silence
given deliver r1->r2 start-view-change
expect r2 status view-change
crash r2
restart r2
expect r2 status view-change
expect r2 view 1
settle
expect r1 primary
expect r2 status normal
given timeout r1 heartbeat
given settle
expect key x 1
