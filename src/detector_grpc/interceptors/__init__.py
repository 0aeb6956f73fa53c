"""What happens around calls: one file each. They see calls and outcomes; nothing in the core knows them."""
