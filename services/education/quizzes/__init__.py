"""Taking quizzes: attempts, their answers and their grades."""
