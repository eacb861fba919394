"""Do several modalities predict better than one, and does it matter how they are joined?"""
