# Each round has a nonce of its own. An answer to an earlier one says nothing of where its sender is now.
cluster 3
read c1 linearizable get x
deliver r0->r1 read-probe
hold r1->r0 read-ok as late
deliver r0->r2 read-probe
deliver r2->r0 read-ok
expect reply c1 "(none)"
read c2 linearizable get x
release late
deliver r1->r0 read-ok
expect r0 ignored not-asked
expect no reply c2
settle
expect reply c2 "(none)"
