"""The body of an arm as convex hulls, and how far its links are from each other and from a box: MuJoCo's geometry."""
