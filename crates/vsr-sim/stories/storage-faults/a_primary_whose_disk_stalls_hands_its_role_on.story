# r0's disk does not answer any more. With r1's help it still commits, but nobody could tell how long that lasts: once it
# notices it leaves its view, and the others go on. When the disk answers again it follows.
cluster 3
given load c1 2 k
disk r0 stalled
given request c1 put x 3
given run 300ms
given run 2s
expect r1 status primary
given request c1 put x 4
given run 500ms
expect reply c1 ok
expect r2 commit 4
disk r0 ok
given run 1s
expect r0 status backup
expect same-state *
