# A primary whose messages reach one backup of four reads as long as the backups' answers come.
cluster 5
cut r0->r1
cut r0->r2
cut r0->r3
read c1 linearizable get x
deliver r0->r4 read-probe
deliver r4->r0 read-ok
expect no reply c1
timeout r0 read-resend
timeout r0 read-resend
deliver r0->r4 read-probe
deliver r4->r1 read-probe
deliver r4->r2 read-probe
deliver r1->r0 read-ok
expect reply c1 "(none)"
