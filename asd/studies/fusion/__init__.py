"""Do several modalities tell more than one, and does it matter how they are joined?"""
