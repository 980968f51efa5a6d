# r1 acknowledges an entry, and its vote for the next view writes a superblock that tells how far its log was durable. No ring
# header names the record yet when r1 stops, and the record is damaged. It was durable, so that it cannot have been torn: r1
# neither forgets the entry nor denies it. (storage.md, "Torn or damaged".)
cluster 3
given request c1 put k 1
given deliver r0->r1 prepare
given cut r0 | r1 r2
timeout r1 primary-silence
timeout r2 primary-silence
deliver r2->r1 start-view-change
given crash r1
given corrupt r1 log 1
restart r1
expect r1 status view-change
given heal
given run 5s
expect key k 1
expect r1 repaired 1
expect same-state *
