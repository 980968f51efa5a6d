# D2: the START-VIEW-CHANGE that makes a replica join a view change counts as a vote there.
cluster 3
cut r0 | r1 r2
timeout r1 primary-silence
timeout r2 primary-silence
deliver r1->r2 start-view-change
deliver r2->r1 start-view-change
expect r1 view 1
expect r2 view 1
crash r1
given drop r1->r2
heal
timeout r2 view-change-stuck
deliver r2->r0 start-view-change
expect r0 view 1
expect r0 status view-change
timeout r0 view-change-stuck
expect r0 view 2
settle
expect r2 primary
