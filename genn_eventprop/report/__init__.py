"""What a person looks at: figures, interactive pages, reproduced tables."""
