# r1 loses the second of three entries, with its ring header, and starts again while r0 is gone. The third is of r1's own
# view: the primary of that view prepared one entry at each op, and r1 took them in order, so that the second was of that
# view too, and r1 knows where its log ends. It changes views with r2, and has the entry from there. (protocol.md 5.4.)

cluster 3
given load c1 3 k
crash r1
corrupt r1 log 2
corrupt r1 header 2
crash r0
restart r1
expect r1 status backup
given run 5s
expect some primary
expect r1 commit 3
expect r1 durable 3
expect r2 commit 3
