# An entry's checksum covers its value: who asks for an entry by its checksum takes it with no other.
cluster 3 predicts primary
block r0->r1 prepare
request c1 put x 1
settle
timeout r0 heartbeat
deliver r0->r1 commit
deliver r0->r2 commit
deliver r1->r0 get-headers
deliver r0->r1 headers
forge r2->r1 entry view=0 op=1 value=r9.9@9ms
expect r1 ignored wrong-checksum
expect r1 commit 0
settle
expect r1 commit 1
expect key predicted r0.1@0ms/0
expect same-state *
