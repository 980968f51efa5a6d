# With quorums of 1 and 3 the primary commits alone, and a view change takes everybody (votes and offers). The primary's disk
# damages what it wrote behind its head, with its header, so that it cannot tell what it committed. A backup
# happens to have it all, but cannot know that. Were the primary to offer its log, what it cannot read would
# count as never held. So the group waits rather than guess; and once it has been clear for ten seconds that nobody will
# ever tell it, the one that cannot know stops, and says why. (protocol.md 5.5; invariant L9.)

cluster 3 quorum 1/3
cut r0 | r2
given load c1 3 k
given corrupt r0 log 1
given scrub r0
given corrupt r0 log 2
given scrub r0
crash r0
corrupt r0 log 1
corrupt r0 header 1
heal
restart r0
given run 8s
expect r0 status recovering-head
given run 5s
expect r0 status halted
expect r1 status backup
expect r1 durable 3
expect r2 status backup
