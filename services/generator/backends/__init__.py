"""What can write a summary or an answer, behind one port."""
