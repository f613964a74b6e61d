"""The one judge: is this call right, and what is wrong with it?"""
