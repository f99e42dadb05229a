"""The second turns that the policy knows, word by word: the defaults of the strategies that ask them."""

CHECK = "Is this answer correct? Reply Yes or No."
CRITIQUE = "Check the answer step by step. If all is right, reply: All correct."
REVISE = "Write the corrected answer."
ALL_CORRECT = "All correct."
