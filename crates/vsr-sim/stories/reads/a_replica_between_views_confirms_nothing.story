# Who has left the view says no more that its primary still is.
cluster 3
cut r0->r1
cut r1->r0
given timeout r1 primary-silence
given timeout r2 primary-silence
given deliver r2->r1 start-view-change
expect r1 status view-change
heal
read c1 r0 linearizable get x
deliver r0->r1 read-probe
expect r1 ignored older-view
expect no reply c1
