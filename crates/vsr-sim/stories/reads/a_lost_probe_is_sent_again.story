# A round ends though the network loses its probes.
cluster 3
read c1 linearizable get x
drop r0->r1 read-probe
drop r0->r2 read-probe
timeout r0 read-resend
deliver r0->r1 read-probe
deliver r1->r0 read-ok
expect reply c1 "(none)"
