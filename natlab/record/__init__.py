"""What happened in a lab, written down as it happens, and what can be told from it afterwards."""
